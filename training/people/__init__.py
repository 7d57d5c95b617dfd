"""Random synthetic people built on ICT-FaceKit, rendered as multi-view training data.

Modelling is done in the space of ICT-FaceKit ("kit space": about a centimetre per unit, x to the
subject's left, y up, z out of the face); cameras and depth are written in the head space of
`models` (metres, x right, y down, z away from the camera).
"""
