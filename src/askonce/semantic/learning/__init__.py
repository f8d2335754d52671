"""What is learned from fresh answers: judges, and the work in the background."""
