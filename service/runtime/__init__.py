"""The stages of a network on a device."""
