# neglab in a container. Its default command is the demo.
#
#   docker build -t neglab .                                                             for the CPU
#   docker build -t neglab --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .     for GPUs
#   docker run --rm -v "$PWD/runs:/runs" neglab                                          the demo
#   docker run --rm -v "$PWD/runs:/runs" --gpus all neglab method=neglabel trainer=gpu
#   docker run --rm -v "$PWD/runs:/runs" -p 127.0.0.1:8000:8000 -e NEGLAB_TOKEN neglab serve detector=my_detector host=0.0.0.0
ARG BASE=python:3.12-slim
FROM ${BASE}

# A base without Python, such as CUDA's, gets the system's.
RUN python3 -c "import venv, ensurepip" 2>/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY configs configs
COPY neglab neglab
# pip's options, such as an index with torch for the CPU alone, which is a tenth of the size.
ARG PIP_OPTIONS=""
RUN python3 -m venv /opt/neglab \
 && /opt/neglab/bin/pip install --no-cache-dir ${PIP_OPTIONS} -c constraints.txt '.[serve,export]' \
 && rm -rf /src

ENV PATH=/opt/neglab/bin:$PATH NEGLAB_STORE=/runs/store NEGLAB_DATA=/runs/data
WORKDIR /runs
RUN chmod 777 /runs
USER 1000
ENTRYPOINT ["neglab"]
CMD ["-m", "method=mcm,random_negatives,neglabel"]
