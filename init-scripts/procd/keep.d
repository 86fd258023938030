/etc/kubeedge/
