"""nginx serving one static file: a child of this program with a configuration of its own, never a service."""

import socket
import subprocess
import time

import harness
from larder import free_port

CONFIGURATION = """
daemon off;
master_process on;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    open_file_cache max=100;
    open_file_cache_valid 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/root; }}
}}
"""


class Nginx:
    """A running nginx."""

    def __init__(self, name, files):
        self.folder = harness.fresh(name)
        root = self.folder / "root"
        root.mkdir()
        for file, content in files.items():
            (root / file).write_bytes(content)
        # Its workers give up root, and have to reach the files.
        for folder in (self.folder, root):
            folder.chmod(0o755)
        self.port = free_port()
        configuration = self.folder / "nginx.conf"
        configuration.write_text("user root;\n" * (harness.os.geteuid() == 0) + CONFIGURATION.format(folder=self.folder, port=self.port))
        # In a session of its own, as a service is and as the other side is: Linux shares processors out among sessions.
        command = ["nginx", "-c", configuration, "-p", self.folder]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise harness.Failed("nginx does not answer")

    def close(self):
        self.process.terminate()
        self.process.wait()
        harness.remove(self.folder)
