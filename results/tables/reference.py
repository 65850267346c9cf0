"""The reference of the tables, as Markdown: every column, from the schema that types them."""

from __future__ import annotations

from results.tables.schema import KEY, TABLES


def tables_markdown() -> str:
    """Return every table's columns as Markdown, for the documents."""
    parts = []
    for table, columns in TABLES.items():
        parts += [f"## `{table}`", "", f"Key: {', '.join(f'`{name}`' for name in KEY[table])}.", ""]
        parts += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        parts += [f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning} |" for c in columns]
        if table == "trials":
            parts.append(
                "| `<stage>_<attack>` | double | share | test accuracy of the dense, pruned or "
                "finetuned network, `clean` or under the attack; `worst`: right under all of them |"
            )
        parts.append("")
    return "\n".join(parts)
