"""What `make dev` runs: an emulator of AWS beside the service."""
