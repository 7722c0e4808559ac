"""Statistics: where a counter lies (slots), what all workers counted together (snapshot), and how it is written down."""
