"""An isolator of one's own: a private /var/tmp."""
