"""Incidents, circuits, checksums, decisions, and a history that nobody rewrites."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0003_audit.sql").read_text().replace("%", "%%"))
