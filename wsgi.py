"""The production web entry: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from webapp import create_app

app = create_app()
