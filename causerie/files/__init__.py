"""Files: named, taken in parts, kept by their content, handed out to those whom they were sent to."""
