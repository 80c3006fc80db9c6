"""Pictures without labels."""

from segpipe.predict.labels.tool import Tool

Labels = Tool
