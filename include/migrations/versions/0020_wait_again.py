"""Jobs that wait again for their turn."""

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0020_wait_again.sql").read_text().replace("%", "%%"))
