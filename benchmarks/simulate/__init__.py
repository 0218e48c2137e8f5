"""A simulator in virtual time: the server's own scheduler, and others to compare, on recorded times and confidences."""
