"""Example frameworks, to read and to run: `python -m examples.drf_paper`, `python -m examples.wordcount`."""
