# Prints what is wrong with a provisioned file for K3s: this image has no K3s.
END { print "this image has no K3s, so it takes no such file" }
