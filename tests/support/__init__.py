"""What the tests stand on: real servers and the like. Nothing here is a test."""
