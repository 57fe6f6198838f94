"""What the routes of every feature share."""
