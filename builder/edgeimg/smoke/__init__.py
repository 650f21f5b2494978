"""What is judged in a guest: boots until a pod runs, and what they show."""
