"""What people run: serve, console, chat and admin."""
