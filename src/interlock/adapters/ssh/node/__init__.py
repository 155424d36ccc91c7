"""The node: our SSH server on a host, which runs shells, commands and sftp as the OS login."""
