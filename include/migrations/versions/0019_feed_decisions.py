"""Decisions about batches at the cluster."""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0019_feed_decisions.sql").read_text().replace("%", "%%"))
