"""What each tenant holds."""
