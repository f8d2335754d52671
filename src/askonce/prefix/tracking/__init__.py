"""What the provider's prompt cache should have read of each request, and why it did not."""
