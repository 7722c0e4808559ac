"""Side-by-side measurements of mosnpy and its peers (macro/) and of its parts (micro/). `python -m bench --help`."""
