# SPDX-License-Identifier: Apache-2.0
"""One record of each benchmark, in the fields and types of its published files."""

R4D = {
    "id": 7,
    "benchmark": "vlm4d",
    "task": "Counting",
    "video": "clipped/vlm4d/a.mp4",
    "source": "videos/vlm4d/a.mp4",
    "som_image": "images/vlm4d/7.png",
    "question": "How often does <obj_1> turn?",
    "question_raw": "How often does the dog turn?",
    "options": [2, "once", None, 0],
    "answer": 0,
}
STI = {
    "Video": "scene0001_00.mp4",
    "ID": 3,
    "Task": "Dimensional Measurement",
    "Question": "How long is the table?",
    "Candidates": {"A": "0.50 m", "B": "1.00 m", "C": "1.50 m", "D": "2.00 m", "E": "2.50 m"},
    "Answer": "B",
    "time_start": 0.0,
    "time_end": 12.5,
    "Source": "ScanNet",
}
VLM4D = {
    "id": "validation_4",
    "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_real/davis/baseball.mp4",
    "question_type": "multiple-choice",
    "question": "How many times does the batter hit the ball to the right?",
    "choices": {"A": 1, "B": "By rolling it. ", "C": 2, "D": 0},
    "answer": 0,
}
VSTI_CHOICE = {
    "video_path": "scannet/videos/scene0191_00.mp4",
    "question_type": "camera_obj_rel_dist_v2",
    "question": "Which of these is the closest?",
    "options": ["A. chair", "B. table", "C. lamp"],
    "ground_truth": "table",
    "mc_answer": "B",
}
VSTI_NUMERIC = VSTI_CHOICE | {"question_type": "camera_displacement", "question": "How far?", "ground_truth": 1.8}
VSI_CHOICE = {
    "id": 41,
    "dataset": "arkitscenes",
    "scene_name": "41069025",
    "question_type": "object_rel_direction_hard",
    "question": "Where is the stove?",
    "ground_truth": "C",
    "options": ["A. front-left", "B. back-right", "C. back-left", "D. front-right"],
}
VSI_NUMERIC = VSI_CHOICE | {
    "question_type": "object_counting",
    "question": "How many tables are in this room?",
    "ground_truth": "4",
    "options": None,
}
DSR = {
    "index": "12",
    "video": "Bq3.mp4",
    "task_type": "abs_dis",
    "question": "Between 2.0s and 9.0s, how does the distance between the dog and the ball change?",
    "options": ["A. It shrinks.", "B. It grows, then shrinks.", "C. It grows.", "D. It stays."],
    "answer": "B",
}
SAT = {
    "question": "Which way did the camera move? ",
    "answers": ["rotated left in the first frame", "rotated right"],
    "question_type": "ego_movement",
    "correct_answer": "rotated left in the first frame",
}
OMNI = {
    "id": "0_1",
    "question": "Where is the car?",
    "options": ["left", "right", "behind"],
    "answer": 1,
    "task_type": "Perspective_Taking",
    "sub_task_type": "Egocentric",
}
SYNTH4D = {
    "id": "00003_02",
    "category": "T",
    "video": "clips/00003.mp4",
    "marks": "marks/00003.png",
    "question": "Which way does <obj_2> move?",
    "prompt": "Which way does <obj_2> move?\n\nOptions:\n(A) up\n(B) left",
    "options": ["up", "left"],
    "answer": "left",
    "style": "letter",
}
MMSI = {
    "id": 0,
    "question": " Where is the door?\nOptions: A: Left, near, B: Right, C: Above, D: Below ",
    "question_type": "MSR",
    "answer": "B",
}
