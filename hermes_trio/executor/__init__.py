"""Where a tool call walks in: plan it, run it in its trajectory's slot, say how it ended."""

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, ExecutorStatistics, open_executor

__all__ = ["Executor", "ExecutorConfig", "ExecutorStatistics", "open_executor"]
