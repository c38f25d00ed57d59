"""Copy the programs of docs/examples into the pages that show them: `python -m tests.docs`."""

from __future__ import annotations

from .pages import PAGES, refreshed

if __name__ == "__main__":
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = refreshed(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print("updated", page)
