"""A job file with all its keys, for people to begin with."""

EXAMPLE = """\
# A monitoring job of geounet. Paths are relative to this file. Lines that begin with "# " are what is left at its
# default; what is not commented out must be there.

name = "fields"
out = "state"                       # state rasters, events, timeline, alerts, products, log
# aoi = "area.gpkg"                 # polygons in any CRS: only their windows are predicted

[source]
path = "incoming"                   # any source: folder, pattern, @list.txt, STAC catalogue; or a list of several
# pattern = "*_B*.tif"              # of a folder, only these files
# stac_api = "https://earth-search.aws.element84.com/v1"   # in place of path
# collection = "sentinel-2-l2a"     # or a list
# bbox = [15.0, 48.0, 15.2, 48.1]   # west, south, east, north
# datetime = "2026-01-01/.."
# max_cloud = 60                    # per cent that an item states
# limit = 100
# mask = "scl"                      # hides clouds: scl, qa_pixel, BAND:VALUES, a raster; or a list
# mask_dilate = 2                   # pixels
# min_valid = 0.05                  # share of valid pixels below which a scene is no observation
# date_pattern = "%Y%m%d"           # the date in a scene's name, where nothing else tells it
# bands = ["B02", "B03", "B04", "B08"]
# radiometry = "auto"

[model]
file = "model.safetensors"
# precision = "fp32"                # fp32, bf16: the same for all scenes, whenever they come
# device = "auto"
# workers = 1
# scheduler = "local"

[grid]
# crs = "EPSG:32633"                # of the state; by default that of the earliest scene
# resolution = 10.0                 # side of a pixel in its units

[change]
min_area = 0.5                      # hectares
confirm = "2 of 3 within 180 days"  # seen again in 2 of the next 3 valid observations
# min_confidence = 0.6              # a pixel that is less sure is no observation
# baseline = 1                      # observations whose commonest class is the baseline
# from = ["forest"]                 # classes to watch; all by default
# to = ["bare_soil", "built_up"]

[alerts]
file = "alerts.jsonl"               # a line of JSON for each
# command = ["notify", "--stdin"]   # gets the JSON on standard input
# webhook = "https://example.org/hook"
# secret_env = "GEOUNET_SECRET"     # environment variable with the secret that signs what the webhook gets
# retries = 5

# [[alerts.rules]]                  # without rules: each confirmed event, once
# name = "large"
# status = "confirmed"              # provisional, confirmed, ended
# min_area = 2.0                    # hectares of an event
# from = "forest"
# to = "built_up"
# within = "reserve.gpkg"           # only events that touch these polygons
# min_count = 3                     # new events that it takes
# min_total = 10.0                  # hectares of new events that it takes
"""
