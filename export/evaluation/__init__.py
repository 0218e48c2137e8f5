"""What a served artifact does on labelled images, by the server's own decisions."""
