"""The link from a gate's task to its Data Docs, as a button in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

XCOM_KEY = "data_docs_url"
"""XCom key under which a gate's task leaves the address of its Data Docs. Not the name of a field of what the task
returns: Airflow pushes each field of a returned dictionary under its own name, and would overwrite the address."""


def data_docs_url(docs_key: str) -> str:
    """The address, on the Airflow web server, of a page in the store: gates/<job>/<gate>/index.html."""
    return f"/tradu/{docs_key}"


class DataDocsLink(BaseOperatorLink):
    """Opens what the gate's expectations found."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address that the task left in its XCom; empty where it left none."""
        # Only where the task ran: Airflow keeps the answer, and its server never imports this.
        from airflow.sdk.execution_time.xcom import XCom

        found = XCom.get_value(ti_key=ti_key, key=XCOM_KEY)
        return str(found) if found else ""
