"""Setting up what the commands need: virtual environments, Pythons, Debian packages."""
