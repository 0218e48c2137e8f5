"""The server in virtual time: its own decisions, on times and confidences that were recorded on a machine."""
