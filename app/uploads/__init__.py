"""Uploads whose bytes clients put into the bucket themselves."""
