# The server's environment is small; the one for training, export and tests has torch and takes minutes to make.
PYTHON ?= python3
EXTRA ?= cpu
SERVE := .venv
DEV := .venv-dev
PEERS := mosec litserve bentoml ray pytriton
INSTALL = bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
FRESH = rm -rf $(@D) && $(PYTHON) -m venv $(@D)
ARGS ?=
SEEN := tests/service/v2 $(patsubst %,tests/service/test_%.py,identity keys limits routes stream)
METHODS ?= plain,deep-supervision,self-distillation-without-hint,self-distillation,self-distillation-gradient-equilibrium,self-distillation-ensemble
METHODS_GPU ?= plain,deep-supervision,self-distillation,deep-mutual-learning
METHODS_CIFAR100 ?= deep-supervision,deep-mutual-learning,plain,self-distillation,mutual,deep-supervision-label-smoothing,mutual-strided-first-head

$(SERVE)/installed-$(EXTRA): pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) -e '.[$(EXTRA)]'
	touch $@

.venv-demo/installed-$(EXTRA): pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) -e '.[$(EXTRA),client]'
	touch $@

.venv-ray/installed-$(EXTRA): pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) -e '.[$(EXTRA),ray]'
	touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) -e '.[cpu,train,dev]'
	touch $@

# KServe's clients, and objects of operators, are tested in a layer over that one, with the older versions of some packages
# that they need, and without cloudcoil's plugin for pytest.
.venv-kserve/installed: tests/service/clients/kserve.txt $(DEV)/installed
	rm -rf $(@D) && $(DEV)/bin/python -m venv --without-pip $(@D)
	$(DEV)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))" \
		>"$$($(@D)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/below.pth"
	$(DEV)/bin/python -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --no-compile -r $<
	touch $@

.venv-gpu/installed: pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) -e '.[gpu,train,client]'
	touch $@

.venv-docs/installed: pyproject.toml constraints.txt
	$(FRESH) && $(@D)/$(INSTALL) mkdocs-material
	touch $@

.PHONY: serve demo ray test screenshots check docs format board proto train table table-cifar100 table-cifar100-gpu export bench bench-gpu bench-peers lock

serve: $(SERVE)/installed-$(EXTRA)  ## serve the embedded models; ARGS='--port 9000' passes flags, EXTRA=gpu uses a GPU
	$(SERVE)/bin/python -m service $(ARGS)

demo: .venv-demo/installed-$(EXTRA)  ## a day's load in a minute: depth gives way to load, and comes back
	.venv-demo/bin/python -m benchmarks.demo $(ARGS)

ray: .venv-ray/installed-$(EXTRA)  ## replicas of the server under Ray Serve, on this machine; ARGS='--replicas 2' has so many
	.venv-ray/bin/python -m deploy.ray $(ARGS)

# What clients see is tested once more with fronts in processes of their own. All tests together are held to the share of
# the server's branches that they reach (pyproject.toml).
test: $(DEV)/installed .venv-kserve/installed  ## run all tests; ARGS='-k policy' passes flags to pytest
	$(DEV)/bin/python -m $(if $(ARGS),pytest $(ARGS),coverage run -m pytest)
	$(if $(ARGS),,ANYTIME_FRONT_WORKERS=2 $(DEV)/bin/python -m coverage run -m pytest $(SEEN))
	$(if $(ARGS),,$(DEV)/bin/python -m coverage combine --quiet)
	$(if $(ARGS),,$(DEV)/bin/python -m coverage report)

screenshots: $(DEV)/installed  ## take the README's pictures of the playground anew
	SCREENSHOTS=docs/images $(DEV)/bin/python -m pytest tests/service/playground -k pictures

check: $(DEV)/installed  ## format, lint, types, import rules
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

docs: .venv-docs/installed  ## build the documentation into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict $(ARGS)

format: $(DEV)/installed  ## rewrite the code as `make check` wants it
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

board: $(DEV)/installed  ## write Grafana's board anew
	$(DEV)/bin/python -m deploy.grafana.board

proto: $(DEV)/installed  ## write anew what is generated of the messages of gRPC
	$(DEV)/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. service/protocols/v2/grpc/*.proto

train: $(DEV)/installed  ## train a model like the embedded fashion-mnist, or go on with it
	$(DEV)/bin/python -m training $(ARGS)

table: $(DEV)/installed  ## compare the methods on Fashion-MNIST, sized for two cores, or go on with it
	$(DEV)/bin/python -m training table --recipe fashion-mnist-cpu --methods $(METHODS) $(ARGS)

table-cifar100: $(DEV)/installed  ## the same on CIFAR-100, a run of a method with a seed after the other
	$(DEV)/bin/python -m training table --recipe cifar100-cpu --methods $(METHODS_CIFAR100) \
		--out benchmarks/results/methods-cifar100 $(ARGS)

table-cifar100-gpu: $(DEV)/installed  ## the full width for one GPU, without and with AutoAugment and Cutout
	for recipe in cifar100-gpu cifar100-gpu-augmented; do \
		$(DEV)/bin/python -m training table --recipe $$recipe --methods $(METHODS_GPU) \
			--out benchmarks/results/methods-$$recipe $(ARGS) || exit; done

export: $(DEV)/installed  ## make an artifact of what `make train` left, in place of the embedded one
	$(DEV)/bin/python -m export runs/default/checkpoint.pt service/models/fashion-mnist.onnx --precision int8 \
		--report runs/default/report.html $(ARGS)

bench: $(DEV)/installed  ## measure, side by side in one run; results go to benchmarks/results/
	$(DEV)/bin/python -m benchmarks.overload
	$(DEV)/bin/python -m benchmarks.http
	$(DEV)/bin/python -m benchmarks.accuracy
	$(DEV)/bin/python -m benchmarks.budget
	$(DEV)/bin/python -m benchmarks.operating_points
	$(DEV)/bin/python -m benchmarks.precision
	$(DEV)/bin/python -m benchmarks.simulate
	$(DEV)/bin/python -m benchmarks.simulate --shape clumps --budgets-ms '[20, 50, 1000]'
	$(DEV)/bin/python -m benchmarks.simulate --shape day --replicas 4
	$(DEV)/bin/python -m benchmarks.routing
	$(DEV)/bin/python -m benchmarks.training_cost
	$(DEV)/bin/python -m benchmarks.threads

bench-gpu: .venv-gpu/installed  ## measure a host with an NVIDIA GPU, in half an hour at most; results bear its name
	.venv-gpu/bin/python -m benchmarks.gpu_host $(ARGS)

.venv-peers/%/installed: benchmarks/peers/requirements/%.txt
	rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-peers: $(DEV)/installed  ## other servers of the same network, in turn; ARGS='--peers mosec' measures that one only
	-$(MAKE) --keep-going $(PEERS:%=.venv-peers/%/installed)
	$(DEV)/bin/python -m benchmarks.peers $(ARGS)

lock:  ## write constraints.txt anew: the newest versions that fit together
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,train,dev,docs]'
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --no-deps onnxruntime-gpu
	.venv-lock/bin/python -m pip freeze --exclude-editable > constraints.txt
