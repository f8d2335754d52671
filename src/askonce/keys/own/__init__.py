"""What is the application's own, and no package's: its classes count by their code and by all they hold."""
