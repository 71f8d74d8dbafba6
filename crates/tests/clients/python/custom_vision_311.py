"""Drives every operation of Microsoft's unmodified Python client 3.1.1: training API 3.4-preview, prediction API 3.1."""

import os

import walk_data
import walk_iterations
import walk_models
import walk_roles
from azure.cognitiveservices.vision.customvision.prediction import CustomVisionPredictionClient
from azure.cognitiveservices.vision.customvision.training import CustomVisionTrainingClient
from driven import ENDPOINT, KEY, OTHER_KEY, PREDICTION_KEY, Operations, finish
from msrest.authentication import ApiKeyCredentials

operations = Operations()


def training(headers):
    return operations.watch("training", CustomVisionTrainingClient(ENDPOINT, ApiKeyCredentials(in_headers=headers)))


def prediction(headers):
    return operations.watch("prediction", CustomVisionPredictionClient(ENDPOINT, ApiKeyCredentials(in_headers=headers)))


trainer, other = training({"Training-key": KEY}), training({"Training-key": OTHER_KEY})
predictor = prediction({"Prediction-key": PREDICTION_KEY})
walk_data.walk(trainer, other, training({"Training-key": "0" * 32}))
walk_iterations.walk(trainer)
walk_models.classify(trainer, predictor, prediction({"Prediction-key": OTHER_KEY}), other)
walk_models.detect(trainer, predictor)
members = {}
for role in walk_roles.ROLES:
    headers = {"Authorization": f"Bearer {os.environ[f'HABEAS_TEST_TOKEN_{role.upper()}']}"}
    members[role] = training(headers), prediction(headers)
walk_roles.walk(training({"Training-key": os.environ["HABEAS_TEST_ORGANISATION_KEY"]}), members)
operations.covered()
finish("custom vision 3.1.1")
