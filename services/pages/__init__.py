"""Web pages and reports: templates, and pictures laid out from core objects. Pure."""
