# imatch on a processor, without a GPU.
#
#   docker build -t imatch .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/data imatch match a.tif b.tif -o result.json
#
# The folder with the images is mounted at /data, where the command runs: paths are relative to it,
# and what is written belongs to you (--user). Add ":ro" to a folder that is only read. Fetched
# weights are kept with `-v imatch-cache:/cache`; nothing is fetched with `--network none`, and the
# default matcher needs nothing.

ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv /opt/imatch
ENV PATH=/opt/imatch/bin:$PATH
# PyTorch's CPU build is a tenth of the size. Before the sources: it changes seldom.
ARG TORCH=2.13.0
RUN pip install --no-cache-dir "torch==${TORCH}" --index-url https://download.pytorch.org/whl/cpu
COPY . .
RUN pip install --no-cache-dir .

FROM python:${PYTHON}-slim
# rasterio's and pyogrio's wheels look for the system's libexpat; the image's release sets which.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/imatch /opt/imatch
# Any user may keep files in /cache, so that --user works.
RUN useradd --create-home --uid 1000 imatch \
    && mkdir --mode=1777 /cache /data
ENV PATH=/opt/imatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib
USER 1000
WORKDIR /data
ENTRYPOINT ["imatch"]
CMD ["--help"]
