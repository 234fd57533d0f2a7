"""A folder's files by the server of the service, without the service: `python -m benchmarks.static_files DIR PORT`."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

if __name__ == "__main__":
    files = Starlette(routes=[Mount("/", StaticFiles(directory=sys.argv[1]))])
    uvicorn.run(files, port=int(sys.argv[2]), log_level="warning", access_log=False)
