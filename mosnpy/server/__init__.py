"""The processes: supervisor, controller, workers, and the messages between them (DESIGN §1)."""
