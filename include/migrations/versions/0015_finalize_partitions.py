"""A half detached partition is no obstacle to making it again."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0015_finalize_partitions.sql").read_text().replace("%", "%%"))
