"""Partitions that are made, and taken away, beside running work."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0010_partitions.sql").read_text().replace("%", "%%"))
