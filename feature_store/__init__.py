"""What is known, about whom, and when: the Task, its table and the errors that all layers share."""
