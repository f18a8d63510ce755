"""Decisions about batches at the cluster."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0018_feed_decisions.sql").read_text().replace("%", "%%"))
