"""Whole proxies under load. Read scenario.py (what), proxies.py (who), measure.py (how), report.py and chart.py (so what)."""
