"""A project of a user: started, and examined together with its host."""
