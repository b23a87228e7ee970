# The doors for people. Each target is one line that calls a program.

.PHONY: demo test test-setup check arm ble deps fuzz torture newcomer bench
demo:        ## a ward that runs: simulated devices, broker, gateway and receiver in one terminal. ARGS="--for 20s --json"
	@tests/demo $(ARGS)
test:        ## installs what the tests need and passes everything; prints the time of each part
	@tests/run
test-setup:  ## only installs what the tests need
	@tests/setup
check:       ## formatting, lints, licences
	@tests/check
fuzz:        ## every parser that reads bytes of others, for 20 s each. ARGS="--for 5m store heads", ARGS="--replay store FILE"
	@tests/fuzz/run $(ARGS)
torture:     ## kill -9 at every named point, some fifty kills of gateway, receiver and broker; minutes
	@tests/torture
newcomer:    ## the README's commands and the plugin guide on a bare Debian; needs root, and half an hour
	@tests/newcomer $(ARGS)
arm:         ## the gateway for aarch64, as `make test` runs it under qemu; minutes the first time
	@tests/arm
ble:         ## the gateway on a real BlueZ in an emulated machine, with peripherals of Google's Bumble; part of test
	@tests/ble/run
deps:        ## how many crates each package draws in, against its budget; part of check
	@tests/deps
bench:       ## what the gateway costs, against its bounds: a release build, at least 60 s for each figure. ARGS="--for 10s" for a first look
	@tests/bench $(ARGS)
