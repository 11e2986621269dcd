# The engine with nothing else: coordinator, worker and client are the same image with another command.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 mapreduce
WORKDIR /opt/mapreduce
COPY pyproject.toml README.md LICENSE ./
COPY mapreduce ./mapreduce
COPY workers ./workers
COPY jobs ./jobs
RUN pip install --no-cache-dir . \
    && mkdir -p /state /data /scratch && chown mapreduce /state /data /scratch

USER mapreduce
WORKDIR /data
ENTRYPOINT ["mapreduce"]
CMD ["--help"]
