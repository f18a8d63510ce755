"""The errors of the line: few types, each with the class that says who may retry (docs/architecture.md)."""

from __future__ import annotations

from enum import StrEnum


class ErrorClass(StrEnum):
    """Why something failed, and so what the line does about it."""

    TRANSIENT = "transient"  # network, a lost worker: retry within the block's budget
    RESOURCE = "resource"  # out of memory, queue full: smaller batch, later
    MODEL = "model"  # engine failed or gave bad output: next model, then next tier
    DATA = "data"  # unreadable, no language, over limits: quarantine, the rest goes on
    SYSTEMIC = "systemic"  # ledger or store down: nothing is claimed until it is back


class TraduError(Exception):
    """Something went wrong on the line; the message says what happened, to which thing, and what to do."""

    error_class = ErrorClass.SYSTEMIC

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class DataError(TraduError):
    """The document or block can't be processed as it is: mend it and send it again."""

    error_class = ErrorClass.DATA


class ModelError(TraduError):
    """An engine failed or returned output that can't be used: try another model."""

    error_class = ErrorClass.MODEL


class TransientError(TraduError):
    """A network or worker failure that a later attempt may not meet."""

    error_class = ErrorClass.TRANSIENT


class StaleLeaseError(TransientError):
    """This process was away for longer than its lease, and another one has taken its work over: let it go on."""


class UnwantedError(TransientError):
    """Nobody waits for this work any more: its job was cancelled, or others have taken it over."""


class DamagedError(DataError):
    """An object of the store is not as it was written: `tradu verify JOB` says which, and `--redo` makes it again."""


class ResourceError(TraduError):
    """Not enough memory, disk or queue space: try a smaller batch, later."""

    error_class = ErrorClass.RESOURCE


class SystemicError(TraduError):
    """The ledger, the store or the cluster can't be reached: start it (`tradu doctor` says what is wrong)."""


class StoreError(SystemicError):
    """The store can't be reached, or takes nothing: `tradu doctor` says what is wrong."""


class LedgerRewoundError(SystemicError):
    """The ledger is older than the store: nothing is claimed or delivered until a person says `tradu ledger accept`."""


class CircuitOpenError(SystemicError):
    """A circuit is open: nothing is claimed for it until a trial succeeds (`tradu incidents` says why it opened)."""


class RequestError(TraduError):
    """The request itself is wrong (unknown language, no model, no document): correct it and ask again."""

    error_class = ErrorClass.DATA


class GateStopError(TraduError):
    """A gate stopped the run: too large a share of its rows was bad."""

    error_class = ErrorClass.DATA

    def __init__(self, message: str, data_docs: str | None = None) -> None:
        super().__init__(message)
        self.data_docs = data_docs
