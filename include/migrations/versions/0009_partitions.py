"""Partitions that are made, and taken away, beside running work."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0009_partitions.sql").read_text().replace("%", "%%"))
